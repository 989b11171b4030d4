"""What monitors saw on boards, told on one page."""
