"""The report: HTML, JUnit and JSON, and the lines on the terminal. It reads verdicts and draws figures."""

from quotalab.report.judging import check_workspace_rules, document, judge_run
from quotalab.report.summary import sentences, summary

__all__ = ["check_workspace_rules", "document", "judge_run", "sentences", "summary"]
