"""The report of a run, or of several: one page for somebody who must decide which network to ship."""
