//! The Hugging Face Hub: models by name. The only network.
