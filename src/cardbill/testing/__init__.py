"""What tests of cardbill, of stores and of applications need; ships in the wheel."""
