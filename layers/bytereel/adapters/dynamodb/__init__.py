"""Jobs in a table of DynamoDB."""
