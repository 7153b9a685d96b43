"""The Streamlit app: pages read, arrange and draw."""
