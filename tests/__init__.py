"""The tests of holdfast; a package so that `from tests.support import ...` means ours."""
