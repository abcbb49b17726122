"""The demo model's shape, in one place: every script and both config files follow it."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = HERE / "work"
ASSETS = HERE.parent.parent / "assets" / "demo-model"

VOCAB = 3072
HIDDEN = 256
LAYERS = 4
HEADS = 4
KV_HEADS = 2
HEAD_DIM = 64
DENSE = 768
EXPERTS = 20
TOP_K = 4
EXPERT = 128
DENSE_LAYERS = 1
ROPE_DIMS = 32
ROPE_THETA = 10000.0
EPS = 1e-5
MAX_POSITIONS = 4096

# In the order in which GLM-4.5 lists them. True: hidden when text is decoded without special tokens.
SPECIAL_TOKENS = {
    "<|endoftext|>": True,
    "[MASK]": True,
    "[gMASK]": True,
    "[sMASK]": True,
    "<sop>": True,
    "<eop>": True,
    "<|system|>": True,
    "<|user|>": True,
    "<|assistant|>": True,
    "<|observation|>": True,
    "/nothink": True,
    "<think>": False,
    "</think>": False,
    "<tool_call>": False,
    "</tool_call>": False,
    "<tool_response>": False,
    "</tool_response>": False,
    "<arg_key>": False,
    "</arg_key>": False,
    "<arg_value>": False,
    "</arg_value>": False,
}
STOP_TOKENS = ["<|endoftext|>", "<|user|>", "<|observation|>"]

# Special tokens close the vocabulary, as in the real tokenizer.
FIRST_SPECIAL = VOCAB - len(SPECIAL_TOKENS)
TOKEN_ID = {text: FIRST_SPECIAL + i for i, text in enumerate(SPECIAL_TOKENS)}
STOP_IDS = [TOKEN_ID[text] for text in STOP_TOKENS]


def config() -> dict:
    """config.json in the field names of the GLM-4.5 family."""
    return {
        "architectures": ["Glm4MoeForCausalLM"],
        "model_type": "glm4_moe",
        "attention_bias": True,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": STOP_IDS,
        "pad_token_id": STOP_IDS[0],
        "first_k_dense_replace": DENSE_LAYERS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": DENSE,
        "max_position_embeddings": MAX_POSITIONS,
        "moe_intermediate_size": EXPERT,
        "n_group": 1,
        "n_routed_experts": EXPERTS,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_attention_heads": HEADS,
        "num_experts_per_tok": TOP_K,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "num_nextn_predict_layers": 0,
        "partial_rotary_factor": ROPE_DIMS / HEAD_DIM,
        "rms_norm_eps": EPS,
        "rope_scaling": None,
        "rope_theta": ROPE_THETA,
        "routed_scaling_factor": 1.0,
        "tie_word_embeddings": False,
        "topk_group": 1,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_qk_norm": False,
        "vocab_size": VOCAB,
    }


def generation_config() -> dict:
    # So small a model is sure only of its first choices: hot sampling makes it talk nonsense.
    return {
        "do_sample": True,
        "temperature": 0.2,
        "top_p": 0.9,
        "eos_token_id": STOP_IDS,
        "pad_token_id": STOP_IDS[0],
    }
