"""The output: the Markdown of one stage's analysis, of several, of what its numbers mean, and the HTML pages.

Pure: values in, text out; the same values give the same bytes.
"""

from trainrelay.report.comparison import compared_markdown, comparison_markdown
from trainrelay.report.escape import plain
from trainrelay.report.explanation import explanation_markdown
from trainrelay.report.html import overview_html, run_html
from trainrelay.report.markdown import analysis_markdown
