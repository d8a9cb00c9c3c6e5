"""The panels of the chat page. Each builds its own elements, handles their events, and knows nothing of the others."""
