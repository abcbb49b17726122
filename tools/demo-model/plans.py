"""Goals in words and the small workflow plans that they mean, as compact JSON."""

import json
import random

import words as W
from phrases import expand

SITES = ["example.com", "shop.example.com", "api.example.com", "news.example.org", "status.example.net", "blog.example.org", "data.example.com"]
CHANNELS = ["general", "alerts", "team", "ops", "news", "sales", "support", "random", "dev", "orders"]


def _hour(rng):
    return rng.randint(5, 22)


def triggers(rng: random.Random):
    """Words for the start of a workflow and the trigger that they mean."""
    h, n, day = _hour(rng), rng.choice([5, 10, 15, 20, 30, 45]), rng.choice(W.DAYS)
    site, word = rng.choice(SITES), rng.choice(W.NOUNS)
    return rng.choice(
        [
            (f"(every day|each day|daily) at {h}(:00| o'clock|)", {"type": "schedule", "every": "day", "at": f"{h:02}:00"}),
            (f"(every morning|each morning) at {min(h, 11)}", {"type": "schedule", "every": "day", "at": f"{min(h, 11):02}:00"}),
            (f"(every|each) {day} at {h}(:00| o'clock|)", {"type": "schedule", "every": day.lower(), "at": f"{h:02}:00"}),
            ("(every hour|each hour|once an hour|hourly)", {"type": "schedule", "every": "hour"}),
            (f"every {n} minutes", {"type": "schedule", "every": f"{n} minutes"}),
            ("(when|whenever|every time) (a webhook is called|the webhook is called|a webhook comes in|a request arrives|someone calls the webhook)", {"type": "webhook"}),
            (f"(when|whenever) the webhook {word} is called", {"type": "webhook", "path": word}),
            ("(when|whenever|if|every time) (a new email arrives|an email comes in|i get an email|a mail arrives|i receive a mail)", {"type": "gmail"}),
            ("(when|whenever|every time) (someone fills in the form|a form is submitted|the form is sent|a form comes in)", {"type": "form"}),
            ("(when|if|whenever) (a workflow fails|another workflow fails|an error happens in a workflow)", {"type": "error"}),
            (f"(when|whenever) (there is a new entry in the feed of|a new article appears on|something new is posted on) {site}", {"type": "rss", "url": f"https://{site}"}),
            ("(when i click the button|when i start it by hand|manually|on a click)", {"type": "manual"}),
            ("(when|whenever) (i get|someone sends|there is) a (chat|telegram) message", {"type": "telegram"}),
        ]
    )


def steps(rng: random.Random):
    """Words for one step and what it means."""
    site, channel, who, sheet = rng.choice(SITES), rng.choice(CHANNELS), rng.choice(W.NAMES).lower(), rng.choice(W.NOUNS)
    mail = f"{who}@{rng.choice(['example.com', 'example.org'])}"
    return rng.choice(
        [
            (f"(fetch|get|load|download|call) (the page|data from|) https://{site}", {"use": "http", "url": f"https://{site}"}),
            (f"(fetch|get|load|download|call) (the page|data from|) https://{site}/{sheet}", {"use": "http", "url": f"https://{site}/{sheet}"}),
            (f"(post|send|write) (it|the result|a message|them) (to|in) (slack channel|the slack channel|slack) #{channel}", {"use": "slack", "channel": f"#{channel}"}),
            (f"(tell|notify|inform) #{channel} (on|in) slack", {"use": "slack", "channel": f"#{channel}"}),
            (f"(send|email|mail) (it|the result|a mail|an email|them) to {mail}", {"use": "gmail", "to": mail}),
            (f"(save|store|add|append|write) (it|the result|a row|them) (to|in) the (google sheet|sheet|spreadsheet) {sheet}", {"use": "sheets", "sheet": sheet}),
            ("(send|post) (it|the result|a message|me a message|them) (on|to|over|in) telegram", {"use": "telegram"}),
            ("(send|post) (it|the result|a message|them) (on|to|in) discord", {"use": "discord"}),
            (f"(save|store|insert|write) (it|the result|them) (in|into|to) the (postgres|database) table {sheet}", {"use": "postgres", "table": sheet}),
            ("(summarise|summarize) (it|the text|the result|them) (with ai|with a language model|)", {"use": "ai", "do": "summarise"}),
            (f"wait {(m := rng.choice([1, 2, 5, 10, 30]))} minutes", {"use": "wait", "minutes": m}),
            ("(remove|drop|delete) duplicates", {"use": "deduplicate"}),
            (f"(sort|order) (it|the items|them|the list) by {(f := rng.choice(['date', 'name', 'price', 'size']))}", {"use": "sort", "by": f}),
            (f"(keep only|filter for|select) items (with|where) (the|) {(g := rng.choice(['price', 'total', 'age', 'count', 'score']))} (is |)(over|above) {(v := rng.randint(1, 500))}", {"use": "filter", "if": f"{g} > {v}"}),
            ("(answer|reply to|respond to) the (webhook|caller|request)", {"use": "respond"}),
            ("(create|open|add) (a github issue|an issue on github|a new github issue)", {"use": "github", "do": "issue"}),
            (f"set the field {(k := rng.choice(['status', 'source', 'kind', 'owner']))} to {sheet}", {"use": "set", "field": k, "value": sheet}),
        ]
    )


def workflow(rng: random.Random):
    start, trigger = triggers(rng)
    chosen = [steps(rng) for _ in range(rng.choice([1, 1, 2, 2, 3]))]
    told = [w for w, _ in chosen]
    plan_steps = [s for _, s in chosen]
    if rng.random() < 0.12:
        field, limit = rng.choice(["price", "total", "status", "count", "temperature", "amount"]), rng.randint(1, 500)
        (yes_words, yes), (no_words, no) = steps(rng), steps(rng)
        told = told[:1] + [f"if {field} is (over|above|greater than) {limit} {yes_words}, (otherwise|else|if not) {no_words}"]
        plan_steps = plan_steps[:1] + [{"use": "if", "if": f"{field} > {limit}", "then": [yes], "else": [no]}]
    body = told[0] if len(told) == 1 else ", ".join(told[:-1]) + rng.choice([" and ", ", then ", " and then "]) + told[-1]
    goal = rng.choice([f"{start} {body}", f"{start}, {body}", f"{body} {start}"])
    frame = rng.choice(["G", "G", "(plan|make a plan|workflow|make a workflow|goal|make an n8n workflow|plan a workflow|build a workflow): G", "i (want|need) a workflow: G", "(make|create|plan|build) a workflow that does this: G", "please G"])
    text = expand(frame.replace("G", goal), rng)
    # Names and addresses keep their case, so that the plan can copy them.
    text = text[:1].upper() + text[1:] + rng.choice([".", "", "."])
    plan = json.dumps({"trigger": trigger, "steps": plan_steps}, ensure_ascii=False, separators=(",", ":"))
    return text, plan, expand("(The user gives a goal.|This is a goal for a workflow.) I write the plan as JSON: trigger first, then the steps.", rng)
