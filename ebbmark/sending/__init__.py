"""The client: a program beside the services that knows the HTTP interface and the operations' names."""
