"""The nouns that the parts share, in memory and in files; nothing here reads or writes anything.

All of them are for everybody, so the door names none: a new record is written once.
"""

from trainrelay.records.ends import *
from trainrelay.records.files import *
from trainrelay.records.log import *
from trainrelay.records.report import *
