"""The monitor: follows logs that others run, and tells people what they should know.

finding.py, rules.py, watches.py     what is worth telling; pure
ledger.py, state.py, folder.py       what is kept of it, in the monitor's folder
views.py, follow.py, run.py          how a log is looked at: from several places, entry by entry, poll by poll
notify/, listen.py, metrics.py       how people and machines are told
"""
