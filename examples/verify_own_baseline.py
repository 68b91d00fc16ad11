"""Is your estimator's expected gradient the true one? Summed over everything that could be sampled,
one baseline is, and one is not.
"""

from pathlib import Path

import fledge

here = Path(__file__).parent
for name in ("good_baseline.py", "wrong_baseline.py"):
    verdict = fledge.verify(here / name)
    print(name, "holds" if verdict["holds"] else "does not hold")
    for row in verdict["rows"]:
        print(f"   {row['subject']} claims “{row['claim']}”: off by {row['figure']:.1e}")
