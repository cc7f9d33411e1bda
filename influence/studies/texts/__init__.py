"""Studies of texts: a language model pretrained on some, finetuned to tell classes of others apart."""
