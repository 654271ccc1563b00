"""What holds after each trial, whatever happened in it."""

from collections import Counter


def check_at_most_once(lab, ids, messages):
    """The four questions that are asked after each trial. Returns (facts, list of what did not hold)."""
    rows = lab.sql("SELECT id, delivery_state, message_id FROM dunning_notice WHERE id = ANY(%s)", list(ids))
    accepted = Counter(messages)
    states = Counter(state for _id, state, _message_id in rows)
    known = {message_id: state for _id, state, message_id in rows}
    twice = [message_id for message_id, count in accepted.items() if count > 1]
    missing = [message_id for message_id, state in known.items() if state == "sent" and not accepted[message_id]]
    untold = [message_id for message_id in accepted if known.get(message_id) not in ("sent", "unclear")]
    problems = []
    if twice:
        problems.append(f"{len(twice)} messages were accepted more than once: {twice[:3]}")
    if missing:
        problems.append(f"{len(missing)} notices are called sent, and no mail arrived: {missing[:3]}")
    if untold:
        problems.append(f"{len(untold)} mails arrived for notices that are neither sent nor unclear: {untold[:3]}")
    if states["released"] or states["sending"]:
        problems.append(f"left over: {dict(states)}")
    facts = {
        "notices": len(rows), "accepted": sum(accepted.values()), "accepted_twice": len(twice),
        "sent_without_mail": len(missing), "mail_without_state": len(untold), "states": dict(states),
        "unclear_accepted": sum(known[m] == "unclear" for m in accepted if m in known),
    }  # fmt: skip
    return facts, problems
