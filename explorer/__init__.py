"""The explorer: a Streamlit app that shows which training examples a finetuned model's predictions came from."""
