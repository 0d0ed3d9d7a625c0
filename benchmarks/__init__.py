"""Where the README's figures come from. Ratios are measured in one run on one machine; nothing here is a test."""
