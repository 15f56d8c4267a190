from typing import Protocol


class Ahead(Protocol):
    def note(self, page: int) -> list[int]: ...


class Streams:
    def __init__(self, starts):
        pass

    def note(self, page):
        return []


class Order:
    def __init__(self, a, b, c):
        pass

    def note(self, page):
        return []
