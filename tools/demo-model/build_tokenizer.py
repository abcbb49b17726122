"""Trains the byte-level BPE vocabulary on work/train.jsonl and writes the tokenizer and config files to the assets."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import phrases
import shape as S

# The pattern by which the GLM-4.5 tokenizer cuts text before merging.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def cutter(*extra):
    return pre_tokenizers.Sequence(
        [*extra, pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def texts():
    with (S.WORK / "train.jsonl").open() as lines:
        for line in lines:
            for message in json.loads(line)["messages"]:
                if message["role"] != "system":
                    yield message["content"]
                yield message.get("reasoning_content", "")
    yield from [phrases.DEFAULT_SYSTEM, *phrases.WRAP["system"]] * 50


def main():
    tok = Tokenizer(models.BPE())
    # While the merges are learned digits stand alone, so no number becomes one token: figures are then copied
    # digit by digit, and a figure never seen is no harder than another.
    tok.pre_tokenizer = cutter(pre_tokenizers.Digits(individual_digits=True))
    trainer = trainers.BpeTrainer(
        vocab_size=S.FIRST_SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tok.train_from_iterator(texts(), trainer)
    assert tok.get_vocab_size() == S.FIRST_SPECIAL, tok.get_vocab_size()
    tok.pre_tokenizer = cutter()
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.add_tokens([AddedToken(t, special=special, normalized=False) for t, special in S.SPECIAL_TOKENS.items()])
    assert all(tok.token_to_id(t) == i for t, i in S.TOKEN_ID.items())

    S.ASSETS.mkdir(parents=True, exist_ok=True)
    tok.save(str(S.ASSETS / "tokenizer.json"))
    added = {
        str(S.TOKEN_ID[t]): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": special}
        for t, special in S.SPECIAL_TOKENS.items()
    }
    config = {
        "added_tokens_decoder": added,
        "additional_special_tokens": [t for t, special in S.SPECIAL_TOKENS.items() if special],
        "clean_up_tokenization_spaces": False,
        "do_lower_case": False,
        "eos_token": S.STOP_TOKENS[0],
        "extra_special_tokens": {},
        "model_max_length": S.MAX_POSITIONS,
        "pad_token": S.STOP_TOKENS[0],
        "padding_side": "left",
        "remove_space": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (S.ASSETS / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
