//! StackFlow as it is spoken on TCP port 10001: frames, messages, error codes, text streams, model cards. It opens no socket.
