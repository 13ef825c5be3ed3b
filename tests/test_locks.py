import errno
import fcntl
import os
import socket
import threading
import time

import pytest

from gazekit.errors import CacheError
from gazekit.locks import hold, is_held


def test_a_held_lock_names_its_holder_and_is_gone_afterwards(tmp_path):
    lock = tmp_path / "lock"
    with hold(lock, "the cache"):
        assert lock.read_text().split() == [socket.gethostname(), str(os.getpid())]
        with (
            pytest.raises(
                CacheError, match=rf"the cache is being built.*host {socket.gethostname()}, process {os.getpid()}"
            ),
            hold(lock, "the cache"),
        ):
            pass
    assert not lock.exists()


def test_a_lock_file_whose_holder_died_is_taken_over(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(f"{socket.gethostname()} {os.getpid()}\n")
    with hold(lock, "the cache"):
        pass
    assert not lock.exists()


def test_waiting_ends_when_the_holder_does(tmp_path):
    lock = tmp_path / "lock"
    held = threading.Event()

    def first():
        with hold(lock, "it"):
            held.set()
            time.sleep(0.2)

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with hold(lock, "it", wait_s=10):
        pass
    thread.join()


def test_only_one_of_many_holds_it_at_a_time(tmp_path):
    inside, most = 0, 0

    def contend():
        nonlocal inside, most
        for _ in range(5):
            with hold(tmp_path / "lock", "it", wait_s=30):
                inside += 1
                most = max(most, inside)
                time.sleep(0.002)
                inside -= 1

    threads = [threading.Thread(target=contend) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_file_system_without_locks_is_warned_of_and_used(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="no locks"), hold(tmp_path / "lock", "the cache"):
        pass


def test_a_shared_lock_is_shared_and_keeps_out_who_wants_it_alone(tmp_path):
    lock = tmp_path / "lock"
    with hold(lock, "it", shared=True):
        with hold(lock, "it", shared=True) as second:
            assert not second.is_alone()
        assert lock.exists(), "the first still holds it"
        with pytest.raises(CacheError, match=f"process {os.getpid()}"), hold(lock, "it"):
            pass
    assert not lock.exists()
    with hold(lock, "it"), pytest.raises(CacheError), hold(lock, "it", shared=True):
        pass


def test_the_last_of_several_holders_is_alone_and_stays_so(tmp_path):
    lock = tmp_path / "lock"
    with hold(lock, "it", shared=True) as only:
        assert only.is_alone()
        with pytest.raises(CacheError), hold(lock, "it", shared=True):
            pass


def test_a_lock_file_alone_is_held_by_nobody(tmp_path):
    lock = tmp_path / "lock"
    assert not is_held(lock)
    assert not lock.exists()
    lock.write_text("elsewhere 1\n")
    assert not is_held(lock)
    with hold(lock, "it", shared=True):
        assert not is_held(lock), "shared with whoever asks"
    with hold(lock, "it"):
        assert is_held(lock)
