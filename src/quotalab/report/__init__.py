"""The report: HTML, JUnit and JSON, and the lines on the terminal. It reads verdicts and draws figures."""

from quotalab.report.judging import judge_run
from quotalab.report.summary import sentences, summary

__all__ = ["judge_run", "sentences", "summary"]
