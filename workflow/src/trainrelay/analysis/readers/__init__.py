"""Log readers: the files of one training -> one table (`trainrelay.records.Log`)."""

from trainrelay.analysis.readers.read import read

__all__ = ["read"]
