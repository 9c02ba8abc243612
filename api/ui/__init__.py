"""The pages: chat, review and dashboard, drawn by NiceGUI and served with the HTTP interface.

They call the functions of the HTTP routes with the same schemas, so nothing is decided twice, and each page declares
who may see it (`access`). `mount` puts them in front of the app.
"""
