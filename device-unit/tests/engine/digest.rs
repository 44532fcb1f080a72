//! The logits' bits as digests: a change of arithmetic must change these on purpose.
