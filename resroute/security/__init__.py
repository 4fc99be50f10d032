"""Who somebody is: tokens, and what slows down those who guess them."""
