"""Counts checks and tells of each that fails."""

import sys

import dns.message

counted = 0
failed = 0


def check(what, condition, detail=""):
    """One case; returns whether it holds."""
    global counted, failed
    counted += 1
    if not condition:
        failed += 1
        # Told in text only when it is told.
        detail = detail.to_text() if isinstance(detail, dns.message.Message) else detail
        sys.stderr.write(f"compliance: {what}: {detail}"[:600].replace("\n", " | ") + "\n")
    return condition
