"""The pages of the app, a module each, with the two functions of `page.Page`."""
