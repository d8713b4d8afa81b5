"""The report: HTML, JUnit, Markdown, JSON, and the terminal's lines. It reads verdicts and draws figures."""

from quotalab.report.github import github_lines
from quotalab.report.judging import check_workspace_rules, compare_runs, document, judge_run
from quotalab.report.summary import sentences, summary

__all__ = [
    "check_workspace_rules",
    "compare_runs",
    "document",
    "github_lines",
    "judge_run",
    "sentences",
    "summary",
]
