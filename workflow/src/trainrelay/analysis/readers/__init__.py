"""Log readers: the files of one training -> one table (`trainrelay.records.Log`)."""

from trainrelay.analysis.readers.described_lines import DescribedLines
from trainrelay.analysis.readers.ended import ended
from trainrelay.analysis.readers.events import RowSeen
from trainrelay.analysis.readers.folder import ENDINGS, logs_of
from trainrelay.analysis.readers.follow import SHARE, BeginsAgain, follow
from trainrelay.analysis.readers.read import read, with_own
