"""What the tests share: real servers, real applications."""
