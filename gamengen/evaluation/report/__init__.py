"""What a person looks at: filmstrips, a video, curves and one page with all of it inside."""

from gamengen.evaluation.report.page import Findings, Shown, write

__all__ = ["Findings", "Shown", "write"]
