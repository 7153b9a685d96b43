"""The app, for people who type `streamlit run app.py`; `mixlab app` opens the same one from anywhere."""

from mixlab.app.main import main

main()
