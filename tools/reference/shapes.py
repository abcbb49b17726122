"""The shapes of the reference checkpoints: each is a small GLM-4 MoE that exercises some corner of the format."""

from dataclasses import dataclass, field

# A miniature of GLM-4.5-Air. Heads times head_dim (192) is not the hidden size (128), as in the original.
AIR = {
    "architectures": ["Glm4MoeForCausalLM"],
    "model_type": "glm4_moe",
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": [253, 254, 255],
    "pad_token_id": 253,
    "first_k_dense_replace": 1,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 128,
    "intermediate_size": 256,
    "max_position_embeddings": 512,
    "moe_intermediate_size": 64,
    "n_group": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 6,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-5,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "routed_scaling_factor": 1.0,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "use_cache": True,
    "use_qk_norm": False,
    "vocab_size": 256,
}


@dataclass
class Shape:
    """One reference checkpoint."""

    name: str
    covers: str
    seed: int
    changes: dict = field(default_factory=dict)
    # Number format of unquantised tensors, scales and biases: bfloat16, float16, float32.
    dtype: str = "bfloat16"
    # None: not quantised.
    bits: int | None = 4
    group_size: int = 64
    # Module path -> arguments of its quantisation, or False. Written into the config as mlx-lm does.
    overrides: dict = field(default_factory=dict)
    separate_experts: bool = False
    n_shards: int = 1
    nextn_layer: bool = False
    # Mean of e_score_correction_bias; its spread is 0.2.
    bias_mean: float = 0.0
    # Also record the model as mlx-lm runs it by itself, without set_dtype(float32).
    also_native: bool = False

    @property
    def config(self) -> dict:
        return {**AIR, **self.changes}


SHAPES = [
    Shape(
        "air-4bit",
        "a miniature of GLM-4.5-Air: 4 bits, groups of 64, bf16, stacked experts, attention bias, one dense layer",
        seed=1,
        also_native=True,
    ),
    Shape(
        "sharded-4bit-qk-norm",
        "three shards with an index, qk norm, two dense layers, a next-token-prediction layer to ignore, "
        "f16 scales, groups of 32, routed_scaling_factor 2.5",
        seed=2,
        dtype="float16",
        group_size=32,
        n_shards=3,
        nextn_layer=True,
        changes={
            "use_qk_norm": True,
            "first_k_dense_replace": 2,
            "num_nextn_predict_layers": 1,
            "routed_scaling_factor": 2.5,
        },
    ),
    Shape(
        "separate-2bit",
        "2 bits, groups of 32, experts one by one, norm_topk_prob false",
        seed=3,
        bits=2,
        group_size=32,
        separate_experts=True,
        changes={"norm_topk_prob": False, "num_hidden_layers": 2},
    ),
    Shape(
        "groups-3bit",
        "3 bits, f16 scales, two expert groups of which one is open",
        seed=4,
        bits=3,
        dtype="float16",
        changes={"n_group": 2, "topk_group": 1},
    ),
    Shape(
        "wide-5bit",
        "5 bits, groups of 128, no attention bias, two shared experts",
        seed=5,
        bits=5,
        group_size=128,
        changes={
            "attention_bias": False,
            "moe_intermediate_size": 128,
            "n_shared_experts": 2,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "head_dim": 64,
            "num_experts_per_tok": 2,
        },
    ),
    Shape(
        "groups-6bit",
        "6 bits, f32 scales, no dense layer, four expert groups of which two are open, 3 heads on 1",
        seed=6,
        bits=6,
        dtype="float32",
        changes={
            "first_k_dense_replace": 0,
            "n_group": 4,
            "topk_group": 2,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": 64,
        },
    ),
    Shape(
        "negative-bias-8bit",
        "8 bits, groups of 32, correction biases so negative that all experts of the closed group (score 0) are "
        "chosen before the open one's, "
        "all of a head rotated, rope_theta 1e6, qk norm with attention bias",
        seed=7,
        bits=8,
        group_size=32,
        bias_mean=-1.6,
        changes={
            "n_group": 2,
            "topk_group": 1,
            "num_experts_per_tok": 5,
            "num_hidden_layers": 2,
            "partial_rotary_factor": 1.0,
            "rope_theta": 1000000.0,
            "use_qk_norm": True,
        },
    ),
    Shape(
        "mixed-bits",
        "per-tensor overrides: head in 8 bits of 32, embedding in 6, expert down projections in 5 of 32, an "
        "attention output and a shared expert not quantised, one override that repeats the common values",
        seed=8,
        overrides={
            "lm_head": {"bits": 8, "group_size": 32},
            "model.embed_tokens": {"bits": 6, "group_size": 64},
            "model.layers.1.mlp.switch_mlp.down_proj": {"bits": 5, "group_size": 32},
            "model.layers.2.mlp.switch_mlp.down_proj": {"bits": 3, "group_size": 64},
            "model.layers.0.self_attn.o_proj": False,
            "model.layers.2.mlp.shared_experts.down_proj": False,
            "model.layers.1.self_attn.q_proj": True,
        },
    ),
    Shape(
        "plain-bf16",
        "not quantised, bf16, experts one by one",
        seed=9,
        bits=None,
        separate_experts=True,
        changes={"hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 40, "num_attention_heads": 4},
    ),
    Shape(
        "plain-f16-sharded",
        "not quantised, f16, two shards, head_dim 24 of which 12 are rotated, one expert a token without a shared one",
        seed=10,
        bits=None,
        dtype="float16",
        n_shards=2,
        changes={
            "hidden_size": 72,
            "intermediate_size": 100,
            "moe_intermediate_size": 44,
            "num_attention_heads": 5,
            "num_key_value_heads": 1,
            "head_dim": 24,
            "num_experts_per_tok": 1,
            "n_shared_experts": None,
            "routed_scaling_factor": 1.5,
        },
    ),
    Shape(
        "plain-f32",
        "not quantised, f32, every layer dense",
        seed=11,
        bits=None,
        dtype="float32",
        changes={
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "first_k_dense_replace": 2,
            "num_attention_heads": 4,
        },
    ),
    Shape(
        "tied-4bit",
        "tied embeddings: no lm_head, the quantised embedding is the head",
        seed=12,
        changes={"tie_word_embeddings": True, "num_hidden_layers": 2},
    ),
]
