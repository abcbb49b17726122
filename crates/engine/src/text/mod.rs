//! Tokenizer, chat template, streaming detokenisation, thinking and stop strings.
