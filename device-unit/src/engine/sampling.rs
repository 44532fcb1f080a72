//! Choosing the next token from logits. It knows numbers, and neither text nor tasks.
