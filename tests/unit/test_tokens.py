"""Public ids and what is kept of them."""

from uuid import uuid4

from ingest import tokens


def test_a_public_id_is_128_random_bits_that_need_no_quoting() -> None:
    ids = {tokens.encode(tokens.new_token()) for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 22 and each.replace("-", "").replace("_", "").isalnum() for each in ids)


def test_only_the_idempotency_key_of_the_same_job_opens_a_sealed_token() -> None:
    token, job = tokens.new_token(), uuid4()
    sealed = tokens.seal_token(token, "a key of sixteen", job)
    assert sealed != token
    assert tokens.seal_token(sealed, "a key of sixteen", job) == token
    assert tokens.seal_token(sealed, "another key here", job) != token
    assert tokens.seal_token(sealed, "a key of sixteen", uuid4()) != token


def test_what_is_stored_depends_on_every_character() -> None:
    public_id = tokens.encode(tokens.new_token())
    assert len(tokens.token_hash(public_id)) == 32
    assert tokens.token_hash(public_id) != tokens.token_hash(public_id[:-1])
