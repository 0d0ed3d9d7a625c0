"""Which recordings of Cromwell are compared together, in one state of the fake, and which are not, and why."""


def names(text: str) -> list[str]:
    return text.split()


NO_STATE = names("""
    01-version 02-engine-status 03-backends 14-post-invalid-id 15a-post-invalid-inputs-json 15c-post-unknown-part
    15d-post-no-source 15e-post-label-not-string 15f-post-label-long 15g-post-options-bad 15h-post-not-multipart
    24-status-unknown 25-status-malformed 25b-status-short-uuid 26-unknown-path 28-unknown-metadata
    29-unknown-outputs 29b-unknown-logs 43-query-status-bad 43b-query-param-bad 43c-query-label-bad
    45b-query-id-unknown 45c-query-id-bad 46b-post-query-bad 46c-post-query-none 53-labels-patch-unknown
    54-labels-patch-malformed-id 67-abort-unknown 68-abort-malformed 69b-abort-get 104-post-9MB-inputs
    110d-slurm-post-invalid-id 111-slurm-abort-unknown
""")
POSTS = names("""
    10-post-ok 12a-post-same-id-immediately 12c-post-same-id-submitted 13-post-invalid-wdl 14b-post-id-uppercase
    15b-post-missing-input 60-post-for-abort-submitted 63-post2 103-post-batch 105-post-continueOnReturnCode
    110-slurm-post-ok 110b-slurm-post-same-id 110c-slurm-post-invalid-wdl
""")
NEW_IDS = ["15i-post-type-unknown", "15j-post-wdl-deprecated-key"]
HOLD = ["102-post-on-hold", "102b-status-on-hold", "102c-release", "102d-release-again"]
ABORTS_BEFORE_START = names("""
    61-abort-fresh-within-404-window 62-status-after-abort-fresh 62b-status-after-abort-fresh-later
    20-status-submitted 64-abort-submitted 65-abort-submitted-again 39-metadata-aborted-before-start
""")
WINDOW = names(
    """100-status-in-window 100a-metadata-in-window 100b-labels-patch-in-window 100c-abort-in-window-but-running"""
)
RUNNING = names("""
    21-status-running 21d-metadata-running-late 21e-logs-running-late 21f-outputs-running 70-abort-running
    71-abort-running-again 73-abort-aborted 74-metadata-aborted 75-logs-aborted
""")
EARLY = ["21b-metadata-running-early", "21c-logs-running-early"]
ENDED = names("""
    12b-post-same-id-after-succeeded 22-status-succeeded 23-status-failed 29c-unknown-version
    30-metadata-succeeded-full 31-metadata-succeeded-includekey 32-metadata-failed7-includekey
    33-metadata-failed7-full 34-logs-succeeded 34b-logs-failed7 35-outputs-succeeded 35b-outputs-failed7
    36b-status-invalid-wdl 36d-logs-invalid-wdl 36e-outputs-invalid-wdl 36c-metadata-missing-input
    37-metadata-include-and-exclude 37b-metadata-include-nonexistent 38-metadata-gzip 50-labels-get
    51-labels-patch 52c-labels-get-later 55-labels-patch-nonstring 56-labels-patch-long 57-labels-patch-badjson
    69-abort-succeeded
""")
OTHER_PARSER = ["36-metadata-invalid-wdl", "106-describe"]
SLURM_ENDED = names("""
    94-slurm-metadata-failed7 94b-slurm-logs-failed7 94c-slurm-outputs-failed7 94d-slurm-metadata-succeeded
    101-abort-failed 111b-slurm-abort-succeeded 105b-metadata-continueOnReturnCode
""")
SLURM_RUNNING = ["95-slurm-metadata-running", "96-slurm-abort-running", "97b-slurm-metadata-aborted"]
REJECTED = ["99-slurm-sbatch-rejected"]
LAGGING = ["52-labels-get-immediately", "52b-query-after-patch-immediately", "52d-query-after-patch-later"]
QUERIES = names("""
    41-query-label-one 41b-query-label-two-same-key 41c-query-label-two-keys 41d-query-labelor
    42-query-status-several 42b-query-status-terminal 43d-query-label-urlencoded 44-query-page 44b-query-page9
    44c-query-pagesize-only 45-query-id 46-post-query 47-query-name
""")
EARLIER_QUERIES = ["40-query-all"]

NOT_COMPARED = {
    "27-root": "the page for people is not served",
    "12d-post-same-id-concurrently": "twelve at once: test_cromwell_facts",
    "100d-status-after-abort-in-window": "a loop: test_cromwell_facts",
    "66-status-after-abort-submitted": "a loop: test_cromwell_facts",
    "72-status-after-abort-running": "a loop: test_cromwell_facts",
    "97-slurm-status-after-abort": "a loop: test_cromwell_facts",
    "97c-slurm-abort-latency": "a log of times: test_cromwell_facts",
    "97d-slurm-tuned-abort": "a log of times: test_cromwell_facts",
    "98-slurm-external-scancel": "a log of times: test_cromwell_facts",
    "107-metadata-at-terminal": "a loop: test_cromwell_facts",
    "108-slurm-end-detection": "two minutes; its back-off: test_cromwell_facts",
    "80-restart-sigterm-local": "a log of a restart: test_cromwell_restarts",
    "81-restart-sigkill-local": "a log of a restart: test_cromwell_restarts",
    "82-restart-sigterm-slurm": "a log of a restart: test_cromwell_restarts",
    "83-abort-then-restart-slurm": "a log of a restart: test_cromwell_restarts",
    "84-ended-or-lost-while-down-slurm": "a log of a restart: test_cromwell_restarts",
    **dict.fromkeys(
        names("""
    11-fresh-status-loop-default 11b-fresh-status-loop-fast 11c-status-loop-fail7-fast 90a-slurm-default-status-loop
    90b-slurm-default-status-loop 90c-slurm-tuned-status-loop 93-slurm-fail7-status-loop
"""),
        "a loop over status: test_cromwell_facts",
    ),
    **dict.fromkeys(
        names("""
    91-slurm-default-burst5 92-slurm-fast-burst20 92b-slurm-fast-burst20-again 92c-slurm-tuned-burst20
    92d-slurm-tuned-burst20-hogGroup 92e-slurm-fast-burst20-hogGroup 92f-slurm-tuned-burst20-hogGroup
"""),
        "times of a burst: test_cromwell_facts",
    ),
}
