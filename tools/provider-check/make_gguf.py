"""Writes a tiny random llama in GGUF, with a vocabulary of bytes and a few words: enough for a real server.

    make_gguf.py FILE

It writes nonsense; what is checked with it is the server's protocol, not the model's wit.
"""

import sys

import gguf
import numpy as np

N_EMBD, N_HEADS, N_LAYERS, N_FF, N_CONTEXT = 64, 4, 2, 128, 512
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vocabulary():
    """SentencePiece: unknown, begin, end, all bytes, printable ASCII with and without a space before it."""
    tokens = [(b"<unk>", 0.0, gguf.TokenType.UNKNOWN), (b"<s>", 0.0, gguf.TokenType.CONTROL)]
    tokens += [(b"</s>", 0.0, gguf.TokenType.CONTROL)]
    tokens += [(f"<0x{byte:02X}>".encode(), 0.0, gguf.TokenType.BYTE) for byte in range(256)]
    printable = [chr(code) for code in range(33, 127)]
    pieces = ["\u2581"] + printable + ["\u2581" + letter for letter in printable if letter.isalpha()]
    tokens += [(piece.encode(), -float(n), gguf.TokenType.NORMAL) for n, piece in enumerate(pieces)]
    return tokens


def main():
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(sys.argv[1], "llama")
    tokens = vocabulary()
    writer.add_name("boca-tiny-random")
    writer.add_context_length(N_CONTEXT)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_HEADS)
    writer.add_rope_dimension_count(N_EMBD // N_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHATML)

    def tensor(name, *shape, scale=None):
        scale = scale if scale is not None else 1 / np.sqrt(shape[-1])
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    def ones(name):
        writer.add_tensor(name, np.ones(N_EMBD, dtype=np.float32))

    tensor("token_embd.weight", len(tokens), N_EMBD, scale=1.0)
    for layer in range(N_LAYERS):
        prefix = f"blk.{layer}"
        ones(f"{prefix}.attn_norm.weight")
        ones(f"{prefix}.ffn_norm.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"{prefix}.{name}.weight", N_EMBD, N_EMBD)
        tensor(f"{prefix}.ffn_gate.weight", N_FF, N_EMBD)
        tensor(f"{prefix}.ffn_up.weight", N_FF, N_EMBD)
        tensor(f"{prefix}.ffn_down.weight", N_EMBD, N_FF)
    ones("output_norm.weight")
    tensor("output.weight", len(tokens), N_EMBD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
