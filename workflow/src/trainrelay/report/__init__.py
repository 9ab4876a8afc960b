"""What people read: the Markdown of one stage's analysis and the HTML page of a whole run.

Pure: values in, text out; the same values give the same bytes.
"""

from trainrelay.report.html import run_html
from trainrelay.report.markdown import analysis_markdown

__all__ = ["analysis_markdown", "run_html"]
