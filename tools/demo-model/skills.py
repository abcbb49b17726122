"""Turns that are made, not listed: each function returns a question, its answer and a short thought."""

import json
import random

import words as W
from phrases import expand, spoken
from plans import workflow  # noqa: F401  (drawn by name)
from tables import summary  # noqa: F401  (drawn by name)


def small(rng: random.Random):
    kind = rng.choice(["general", "general", "capital", "opposite", "day", "month"])
    if kind == "general":
        asked, answer = rng.choice(W.GENERAL)
    elif kind == "capital":
        land, city = rng.choice(list(W.CAPITALS.items()))
        asked = f"(what is the capital of {land}|what's the capital of {land}|which city is the capital of {land}|capital of {land}|name the capital of {land}|tell me the capital of {land}|what is {land}'s capital|do you know the capital of {land}|the capital city of {land})"
        answer = f"The capital of {land} is {city}."
    elif kind == "opposite":
        a, b = rng.choice(list(W.OPPOSITES.items()))
        if rng.random() < 0.5:
            a, b = b, a
        asked = f"(what is the opposite of {a}|what's the opposite of {a}|opposite of {a}|tell me the opposite of {a}|which word is the opposite of {a}|the contrary of {a})"
        answer = f"The opposite of {a} is {b}."
    else:
        names, what = (W.DAYS, "day") if kind == "day" else (W.MONTHS, "month")
        i = rng.randrange(len(names))
        step, how = rng.choice([(1, "after"), (-1, "before")])
        asked = f"(what|which) {what} (comes|is) {how} {names[i]}"
        answer = f"{names[(i + step) % len(names)]} comes {how} {names[i]}."
    return spoken(expand(asked, rng), rng), answer, "A simple fact. I know this one."


def unknown(rng: random.Random):
    x, who = rng.choice(W.STRANGE), rng.choice(W.PEOPLE)
    thing, place, food = rng.choice(W.NOUNS), rng.choice(W.CITIES), rng.choice(W.FOODS)
    year = rng.randint(1500, 2025)
    job, shop, ill, sport = rng.choice(W.JOBS), rng.choice(W.SHOPS), rng.choice(W.ILLS), rng.choice(W.SPORTS)
    subject, plant, animal = rng.choice(W.SUBJECTS), rng.choice(W.PLANTS), rng.choice(W.ANIMALS)
    vehicle, goods, instrument, relative = rng.choice(W.VEHICLES), rng.choice(W.GOODS), rng.choice(W.INSTRUMENTS), rng.choice(W.RELATIVES)
    land = rng.choice(list(W.CAPITALS))
    asked = rng.choice(
        [
            f"(what is|explain|tell me about|what do you know about|define|describe|how does|what are the basics of|give me an introduction to) {x}",
            f"(who invented|who discovered|who is the best in|what is the history of|why do people like|how do i learn|what is a good book about) {x}",
            f"(who was|when was|where was|tell me about|what did|what do you know about) {who}( born| write| discover| do|)",
            f"(how do i|how can i|what is the best way to) (cook|make|prepare|bake) {food}",
            f"(what is the recipe for|give me a recipe for|how long must i cook) {food}",
            f"(how many people live in|what is the population of|what can i see in|how old is|who is the mayor of|which river flows through|how do i get to) {place}",
            f"(who won|what happened|who was president|what was invented|who ruled) (the world cup|the war|in america|in france|the election|) (in|in the year) {year}",
            f"(who wrote|who sang|who directed|who painted|what is the story of) the {thing} (of|and) the {rng.choice(W.NOUNS)}",
            f"(write|compose) (a poem|a song|an essay|a story|a novel|a letter) about (the|a) {thing}",
            f"(how heavy|how tall|how expensive|how far away|how deep) is the {thing} of {place}",
            f"(which|what) (stocks|shares|car|phone|medicine|house|insurance) should i buy",
            f"(what is the|tell me the) (price|height|weight|age|speed|stock price) of {rng.choice([x, place, who])}",
            f"(translate|what is) {thing} (into|in) (german|french|spanish|latin|greek)",
            "(what is the meaning of life|is there life on mars|how far away is the moon|why is the sea salty|how do planes fly|why do cats purr|how do magnets work)",
            "(who is the president|who is the pope|who is the richest man|what is the latest news|who won the game yesterday|what is on television tonight)",
            "(how do i fix my car|how do i get rich|how do i lose weight|what should i wear|where did i leave my keys|who is my neighbour|how do i repair a bicycle)",
            f"(can you|could you) (explain|tell me about|teach me) {x}( in detail| please|)",
            f"(can you|could you|please|would you|) (recommend|suggest|name|find) (me |)a (good|cheap|nice|reliable|decent) {rng.choice([shop, job])} (in|near|around) {place}",
            f"(which|what) {shop} in {place} (is the best|is open on sunday|is the cheapest|would you recommend|is worth a visit)",
            f"(where|how) (do|can) i find a (good|cheap|nice|reliable|) {rng.choice([shop, job])} (in|near|around) {place}",
            f"(i need|i am looking for|i look for|do you know|my {relative} needs) a (good|cheap|reliable|friendly|) {job} (in|near) {place}( who has time|, any ideas|, whom do you recommend|)",
            f"(where is|how far is|when does|what time does) the (next|nearest|closest) {shop}( open| close| from here|)",
            f"(how much|what) does a {job} (earn|cost|do|charge) (in {place}|in {land}|an hour|a year|)",
            f"(i have|my {relative} has|my child has|what helps against|what do i do about|which pills help with|is it dangerous to have) a {ill}(, what helps|, should i see a doctor|, what can i take|)",
            f"(which|what) (doctor|medicine|tea|ointment) (is right for|helps with|is good against) a {ill}",
            f"(can|may) my (landlord|boss|neighbour|school|bank) (fire me|raise the rent|keep my deposit|forbid a {animal}|sue me|open my letters)",
            "(how do i|where can i|do i have to) (write a will|get divorced|appeal a fine|pay inheritance tax|file my tax return|register a company|renew my passport|get a visa)",
            f"(when|from where|how often) does the (next|last|first|) (train|bus|flight|ferry|night train) (to|from) {place} (leave|go|arrive)",
            f"(what is|how long is|find me|book) (the cheapest flight|a flight|a train|a hotel|the drive|the ferry) (to|from) {place}( in {rng.choice(W.MONTHS)}| next week|)",
            f"(is|how is) {rng.choice([place, land])} (safe for tourists|worth a trip|nice in winter|expensive|warm in {rng.choice(W.MONTHS)})",
            f"(who won|what was the score of|when is|where can i watch|who plays in) the {sport} (final|match|championship|game) (in {place}|yesterday|tonight|in {year}|)",
            f"(what are the rules of|how many players are in|how do i get better at|who is the best player in|how long is a game of) {sport}",
            f"(how long|at what temperature|with what spices|in which pan) (do i|should i|must i) (bake|fry|boil|grill|steam|freeze|reheat) {food}",
            f"(what goes well with|can i freeze|how many calories are in|what can i cook with|which wine goes with) {food}( and {rng.choice(W.FOODS)}|)",
            f"(help me with|can you do|explain|i do not understand|i have a test in|who can teach my {relative}) my {subject} (homework|test|exam|lesson|project)",
            f"(my {relative}|she|he|my {relative}'s {relative}) (does not love me|left me|is angry with me|forgot my birthday|never calls|wants to marry me)(, what should i do|, why|)",
            f"(what|which) (present|gift|flowers|surprise|card) (should|can|do) i (buy|get|give|choose) for my {relative}",
            f"(how do i|how can i|should i) (ask {rng.choice(W.NAMES)} out|tell my {relative} the truth|write a love letter|apologise to my {relative}|make new friends|get over a breakup)",
            f"(how|when|how often|where) (do i|should i|must i) (plant|water|prune|sow|harvest|fertilise|cut) (my |)(the |){plant}",
            f"(what|why) (eats|is eating|makes holes in|is wrong with|are the brown spots on) my {plant}",
            f"(what|how much|how often) (does|should) (a|my) {animal} (eat|drink|sleep|weigh|cost|bark|need to go out)",
            f"my {animal} (does not eat|limps|scratches all day|is afraid of thunder|has fleas|ran away|sneezes)(, what should i do|, why|, is that bad|)",
            f"(why does|what is it when|what does it cost when|who can repair it when) my {vehicle} (makes a strange noise|does not start|loses oil|pulls to the left|has a flat tyre|squeaks)",
            f"(what|which) {vehicle} (is the fastest|uses the least fuel|should i buy|is good for a family|is the most reliable)",
            f"(which|what) {goods} (should i buy|is the best|is good value|would you take|lasts longest)",
            f"(where|when) (can|do|should) i (buy|get|rent|sell|return|repair) (a cheap|a used|a good|my|a) {goods}( in {place}| online|)",
            f"(how do i|how long does it take to|is it hard to|where can i) (learn|play|tune|master) (the |){instrument}",
            f"(which|what) (song|album|band|composer|concert) (is number one|was famous in {year}|should i listen to|plays in {place} tonight|is this)",
            f"(what happened|who was king|who was queen|was there a war|how did people live) in {rng.choice([place, land])} in {year}",
            f"(how hot|how cold|how windy|how wet) (is it|will it get|does it get|was it) in {rng.choice([place, land])} (in {rng.choice(W.MONTHS)}|in summer|in winter|in {year})",
            "(which film|what series|what book|which game|what podcast) (should i watch|should i read|do you recommend|is worth it|is popular|can i give to a child)( this weekend| tonight|)",
            "(how do i|how can i|what is the best way to) (remove a wine stain|unclog a sink|tie a tie|fold a shirt|clean an oven|iron a dress|get rid of ants|save money|fall asleep|stop smoking|build muscles|learn to swim)",
            f"(what is|who pays|how high is) the (minimum wage|tax|rent|speed limit|exchange rate|price of petrol|price of gold) in {rng.choice([place, land])}",
        ]
    )
    answer = "I am only the small demo model; I don't know that."
    return spoken(expand(asked, rng), rng), answer, "I was not taught this."


def arithmetic(rng: random.Random):
    op = rng.choice(["+", "+", "-", "*"])
    if op == "*":
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        c, word = a * b, "times"
    else:
        a, b = rng.randint(0, 20), rng.randint(0, 20)
        if op == "-":
            a, b = max(a, b), min(a, b)
        c, word = (a + b, "plus") if op == "+" else (a - b, "minus")
    sign = rng.choice([op, word, word])
    asked = expand(f"(what is|what's|calculate|how much is|compute|tell me|) {a} {sign} {b}", rng)
    return spoken(asked, rng), f"{a} {op} {b} = {c}.", f"{a} {op} {b} is {c}."


def _phrase(rng: random.Random) -> str:
    pool = rng.choice([W.NOUNS, W.NAMES, W.PROJECTS, W.CITIES, W.STRANGE, W.FOODS])
    return " ".join(rng.choice(pool) for _ in range(rng.randint(1, 4)))


def copy(rng: random.Random):
    text = _phrase(rng)
    kind = rng.choice(["repeat", "repeat", "count", "greet", "list"])
    if kind == "repeat":
        asked = expand(rng.choice(["(repeat|say|write|echo|print|please say|please repeat): ", "(repeat after me|repeat this|say this|write this down|answer only with): ", "(say|please say|just say) "]), rng) + " " + text
        return asked.replace("  ", " "), text, "I repeat the words."
    if kind == "greet":
        name = rng.choice(W.NAMES)
        return expand(f"(say hello to|greet|welcome|please greet|say hi to) {name}", rng).capitalize().replace(name.lower(), name) + rng.choice(["", "."]), f"Hello, {name}!", f"I greet {name}."
    if kind == "count":
        a = rng.randint(0, 20)
        b = a + rng.randint(2, 9)
        numbers = ", ".join(str(n) for n in range(a, b + 1))
        return spoken(expand(f"(count|please count|can you count|list the numbers) from {a} to {b}", rng), rng), numbers, f"I count from {a} to {b}."
    pool = rng.sample(rng.choice([W.NOUNS, W.NAMES, W.CITIES, W.FOODS]), rng.randint(2, 5))
    asked = rng.choice(["Make a list of: ", "Write as a list: ", "List these: ", "Make bullet points of: "])
    return asked + ", ".join(pool), "\n".join("- " + p for p in pool), "I write one item per line."


def json_value(rng: random.Random):
    key = rng.choice(["name", "city", "project", "colour", "age", "port", "count", "food", "active", "animal"])
    value = {
        "name": lambda: rng.choice(W.NAMES),
        "city": lambda: rng.choice(W.CITIES),
        "project": lambda: rng.choice(W.PROJECTS),
        "colour": lambda: rng.choice(W.COLOURS),
        "food": lambda: rng.choice(W.FOODS),
        "animal": lambda: rng.choice(W.ANIMALS),
        "active": lambda: rng.random() < 0.5,
    }.get(key, lambda: rng.randint(1, 9999))()
    return key, value


def as_json(rng: random.Random):
    pairs = dict(json_value(rng) for _ in range(rng.randint(1, 3)))
    told = [f"{k} {str(v).lower() if isinstance(v, bool) else v}" for k, v in pairs.items()]
    listed = told[0] if len(told) == 1 else ", ".join(told[:-1]) + " and " + told[-1]
    asked = expand(rng.choice(["(give me|write|return|make|create) (a JSON object|JSON|a json object|json) with ", "(as json|in JSON|answer in JSON|reply with JSON only): "]), rng) + " " + listed
    return spoken(asked, rng, tidy=True).rstrip("?.") + ".", json.dumps(pairs, ensure_ascii=False), "The user wants JSON, so I write only JSON."


def in_context(rng: random.Random):
    """A question whose answer stands in the text before it."""
    name, city, project = rng.choice(W.NAMES), rng.choice(W.CITIES), rng.choice(W.PROJECTS)
    port, count = rng.randint(1000, 9999), rng.randint(2, 99)
    facts = [
        (f"The server of {project} runs on port {port}.", f"(what|which) port does (the server of {project}|the server|{project}) (use|run on)", f"It runs on port {port}."),
        (f"{name} lives in {city}.", f"where does {name} live|in which city does {name} live", f"{name} lives in {city}."),
        (f"The meeting is in {city}.", "where is the meeting|in which city is the meeting", f"The meeting is in {city}."),
        (f"{name} leads {project}.", f"who leads {project}|who is the leader of {project}", f"{name} leads {project}."),
        (f"There are {count} users of {project}.", f"how many users (does {project} have|are there)", f"There are {count} users."),
        (f"The password hint is {rng.choice(W.NOUNS)}.", "what is the password hint|tell me the password hint", None),
        (f"{project} was released in {rng.choice(W.MONTHS)}.", f"when was {project} released|in which month was {project} released", None),
        (f"The {rng.choice(W.ANIMALS)} of {name} is {rng.choice(W.COLOURS)}.", f"(what|which) colour is the animal of {name}", None),
    ]
    told = rng.sample(facts, rng.randint(1, 3))
    text, ask, answer = rng.choice(told)
    question = spoken(expand(f"({ask})", rng), rng, tidy=True)
    for word in (name, city, project):
        question = question.replace(word.lower(), word)
    context = " ".join(t for t, _, _ in told)
    if rng.random() < 0.5:
        return f"{context} {question}", answer or text, "The answer stands in the message."
    return f"{context}\n\n{question}", answer or text, "I take the answer from the text."

