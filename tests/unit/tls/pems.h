// Keys and certificates for tests, made with the openssl program for a hundred years. They guard
// nothing.
#pragma once

// DNS api.example.com, *.example.com; by PEM_CA
#define PEM_API_CERTIFICATE \
    "-----BEGIN CERTIFICATE-----\n" \
    "MIIBmDCCAT6gAwIBAgIUVV0CXKOOZsZPVX6t3ZJJG6rXsZwwCgYIKoZIzj0EAwIw\n" \
    "GTEXMBUGA1UEAwwOVGVzdCBBdXRob3JpdHkwIBcNMjYxMTI1MjA1ODI3WhgPMjEy\n" \
    "NjExMDEyMDU4MjdaMA4xDDAKBgNVBAMMA2FwaTBZMBMGByqGSM49AgEGCCqGSM49\n" \
    "AwEHA0IABK65BZxfjY/f9HlLyL+8+8ULTojBc+yBjTS3IAbOH8ECaerzY05iaw8a\n" \
    "EcV7dqkkGprk/JFuMP/9fzcFupHEZnGjbTBrMCkGA1UdEQQiMCCCD2FwaS5leGFt\n" \
    "cGxlLmNvbYINKi5leGFtcGxlLmNvbTAdBgNVHQ4EFgQUEFJb5iqJ3gH1QRMVmbdn\n" \
    "IjjoNfowHwYDVR0jBBgwFoAUEniMpNiPQEZHFqeo2abuVn8i9IcwCgYIKoZIzj0E\n" \
    "AwIDSAAwRQIhAICTjQPahX4pArujq76d2uOdyosyM7VJi9VV9gtEFeKCAiBptXdP\n" \
    "uN6hr0HXSN//CK4PnCv2GVfAo/ARvN4KgcxW9g==\n" \
    "-----END CERTIFICATE-----\n"

// P-256
#define PEM_API_KEY \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4woCS2yBogbU0+oC\n" \
    "oi2ZF26QhCXeTXndB/BuxsMrS+ahRANCAASuuQWcX42P3/R5S8i/vPvFC06IwXPs\n" \
    "gY00tyAGzh/BAmnq82NOYmsPGhHFe3apJBqa5PyRbjD//X83BbqRxGZx\n" \
    "-----END PRIVATE KEY-----\n"

// the same behind a passphrase
#define PEM_API_KEY_LOCKED \
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" \
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAi66cVqaTthXAICCAAw\n" \
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEErr8P8WCs+d3BgYh8+R1IEEgZAC\n" \
    "AD2WpOwzaIxcTIua+EKzASdtYEbOgZYB3MCkNuSe31iuH/ucdrKVIUQxco2YH1Jj\n" \
    "dX1FI38VducQxMw2oosqMvC/4yhzU2ZsuwYRFxLnpvkLqxf7Zln3++maLQjEBnfL\n" \
    "VTx/s2aLay/1CAGiEAJPxaMdVFPm6E4Niu4CydWNioPF0ve0x+H0za/rAffphE8=\n" \
    "-----END ENCRYPTED PRIVATE KEY-----\n"

// DNS API.example.com; by PEM_CA
#define PEM_OTHER_CERTIFICATE \
    "-----BEGIN CERTIFICATE-----\n" \
    "MIIBiTCCATCgAwIBAgIUVV0CXKOOZsZPVX6t3ZJJG6rXsZ0wCgYIKoZIzj0EAwIw\n" \
    "GTEXMBUGA1UEAwwOVGVzdCBBdXRob3JpdHkwIBcNMjYxMTI1MjA1ODI3WhgPMjEy\n" \
    "NjExMDEyMDU4MjdaMA8xDTALBgNVBAMMBGFwaTIwWTATBgcqhkjOPQIBBggqhkjO\n" \
    "PQMBBwNCAARIx++EVw+eUeF542lFbOZkgdql5JBMqZLV2BgAW1Akil8P4MaUGqvx\n" \
    "8l1MKQ7KoRyAKhu22MQatEjipgjLqsaio14wXDAaBgNVHREEEzARgg9BUEkuZXhh\n" \
    "bXBsZS5jb20wHQYDVR0OBBYEFB98WycpS81u42wBcEB6Vm8GwnHiMB8GA1UdIwQY\n" \
    "MBaAFBJ4jKTYj0BGRxanqNmm7lZ/IvSHMAoGCCqGSM49BAMCA0cAMEQCID3Rz+GZ\n" \
    "PhOqsOdPpinuv0fpGAPhosWfPCo+j1EtPhq1AiA6oW63VmpIANVHLaH1DUfN1jCC\n" \
    "PZHB9xozrpai3NIWFQ==\n" \
    "-----END CERTIFICATE-----\n"

// P-256
#define PEM_OTHER_KEY \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfxJ7hWDFIOQ8gAyg\n" \
    "hqhbiS5sA4p760v4Tt5I2XD8MnyhRANCAARIx++EVw+eUeF542lFbOZkgdql5JBM\n" \
    "qZLV2BgAW1Akil8P4MaUGqvx8l1MKQ7KoRyAKhu22MQatEjipgjLqsai\n" \
    "-----END PRIVATE KEY-----\n"

// DNS old.example.com; valid for the 25th of November 2026 only
#define PEM_EXPIRED_CERTIFICATE \
    "-----BEGIN CERTIFICATE-----\n" \
    "MIIBhjCCAS2gAwIBAgIUVV0CXKOOZsZPVX6t3ZJJG6rXsZ4wCgYIKoZIzj0EAwIw\n" \
    "GTEXMBUGA1UEAwwOVGVzdCBBdXRob3JpdHkwHhcNMjYxMTI1MjA1ODI3WhcNMjYx\n" \
    "MTI2MjA1ODI3WjAOMQwwCgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMB\n" \
    "BwNCAARO5jfZKwIr1awubhjheEEsbYAtLKlKNXA+9IYMYEbzjXiUvj41Xc1HGjAP\n" \
    "LhQwbCG52I0pqtpUkCuvxpey8isHo14wXDAaBgNVHREEEzARgg9vbGQuZXhhbXBs\n" \
    "ZS5jb20wHQYDVR0OBBYEFLQKa1bpSfMZ6Jj6X7dtMoARMCd8MB8GA1UdIwQYMBaA\n" \
    "FBJ4jKTYj0BGRxanqNmm7lZ/IvSHMAoGCCqGSM49BAMCA0cAMEQCIHcnN2Cl/YqV\n" \
    "hC0AqFnRZwXPiQ1/VJ2QddJVcWChNzVYAiBs5ik/R0Ljoshzzg6+SQKd3I2X+4Af\n" \
    "NYgOCWzfQ9fd8g==\n" \
    "-----END CERTIFICATE-----\n"

// P-256
#define PEM_EXPIRED_KEY \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzaaNuOC6++ORpigW\n" \
    "EDyVPZEGrkMXezH7IR3r5Q1S97WhRANCAARO5jfZKwIr1awubhjheEEsbYAtLKlK\n" \
    "NXA+9IYMYEbzjXiUvj41Xc1HGjAPLhQwbCG52I0pqtpUkCuvxpey8isH\n" \
    "-----END PRIVATE KEY-----\n"

// RSA of 1024 bits
#define PEM_WEAK_CERTIFICATE \
    "-----BEGIN CERTIFICATE-----\n" \
    "MIICGTCCAYKgAwIBAgIUXGqzxKkkaI876igP6eKxQFwpp+kwDQYJKoZIhvcNAQEL\n" \
    "BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjExMjUyMTAzMTRaGA8yMTI2MTEwMTIx\n" \
    "MDMxNFowDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkC\n" \
    "gYEAuvm8xd8lIpX069fHn5gfcyZnNUUqCepX8zsy3+SQtyvv4ytHjYrveiw7ueyL\n" \
    "icbP6uJzHKkK/3PgPlwz7Oj01kDMwPCROy9mWlj+lQr1BpUdKyGVfHaC4fDCZpub\n" \
    "3d8mlO16H123bxgB88I6bNR5M67XM/btdbzkAWy1TdEHDJMCAwEAAaNwMG4wHQYD\n" \
    "VR0OBBYEFNngqIXH+QFJKM5+DCu4Oajo2qPiMB8GA1UdIwQYMBaAFNngqIXH+QFJ\n" \
    "KM5+DCu4Oajo2qPiMA8GA1UdEwEB/wQFMAMBAf8wGwYDVR0RBBQwEoIQd2Vhay5l\n" \
    "eGFtcGxlLmNvbTANBgkqhkiG9w0BAQsFAAOBgQB+v79/JqqCkJvCrfFihEvyLMLq\n" \
    "bd18/mjdegsA1wkaU04ngK1toMZov22Ba4d6sHFDZqc93YF9gptHVLZl1AhNWu33\n" \
    "yYZkZdy2cdrtRyhihXPz+TDbnmbc97S59yffqg5/tkqAFGc14zOMiZnZhfrZlhcE\n" \
    "QOR9Fhashw8CtJxpkA==\n" \
    "-----END CERTIFICATE-----\n"

// RSA of 1024 bits
#define PEM_WEAK_KEY \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBALr5vMXfJSKV9OvX\n" \
    "x5+YH3MmZzVFKgnqV/M7Mt/kkLcr7+MrR42K73osO7nsi4nGz+ricxypCv9z4D5c\n" \
    "M+zo9NZAzMDwkTsvZlpY/pUK9QaVHSshlXx2guHwwmabm93fJpTteh9dt28YAfPC\n" \
    "OmzUeTOu1zP27XW85AFstU3RBwyTAgMBAAECgYATHWz7HbECNCpx4gF6g2bTst1i\n" \
    "SMvfb6HGMAsncIqK72b65nXONqH874C7pT8uurCO5s+14mJJc2M9fNeiJL7C69Eq\n" \
    "faA0586xDjbAB4iSwEChdLrzy9qke0GhNTospZnmt+pWjRdNfVVAbbyKm/ddHnQs\n" \
    "esrn8nCEl8F/5Qf5wQJBAOll9bub2OldR4pM0BGtvJZnTugkeGLIoz/BciwYeBgb\n" \
    "ZH12qGkX2yKFwDGsy97owyD2Ygyed5cjZeJeyhRFTckCQQDNFPA9Qu2BqCSAcyyC\n" \
    "WWOjy/THaQxgNIAveJuHYRc6fX+JfyrdeWxZpAY2CZC9PsiryN2R/jDWaa5UJ3Rb\n" \
    "Z8V7AkBxZHfejfj0Z706E9eCv0XATLCpWA6k75VghDtT8Q9npudLjTqE1HJCc3jM\n" \
    "qYbi5XLnsMwyFUtEwo3dTPAgqQsBAkEAsihfb4jF1V4hn6juYKqRAcl78wPSKX1S\n" \
    "YmrvCdORn1FIy0S7Ez2Zn+H7N1Rl9dEl+P39Zgehm5KhTCAeWA21IwJAFikDCj5h\n" \
    "uUdBhPhPkPgGGwKqzP6oQQDGOsA0cEgWN/ivdQxKKIjLwTV0ikdMlCxwG6CRFWMP\n" \
    "grl5LhhNC2ZIZw==\n" \
    "-----END PRIVATE KEY-----\n"

// Ed25519; DNS ed.example.com, IP 10.0.0.1
#define PEM_ED_CERTIFICATE \
    "-----BEGIN CERTIFICATE-----\n" \
    "MIIBUjCCAQSgAwIBAgIUdOCY74SlJY6EpZMONXTWBDyp0KkwBQYDK2VwMA0xCzAJ\n" \
    "BgNVBAMMAmVkMCAXDTI2MTEyNTIxMDMxNFoYDzIxMjYxMTAxMjEwMzE0WjANMQsw\n" \
    "CQYDVQQDDAJlZDAqMAUGAytlcAMhAF60EZyAybLXZR9rFQo1IQcvA45gD+rTbsq6\n" \
    "427HC1GTo3QwcjAdBgNVHQ4EFgQUHP+opROMTrNaX+irpqN4NRoU6MYwHwYDVR0j\n" \
    "BBgwFoAUHP+opROMTrNaX+irpqN4NRoU6MYwDwYDVR0TAQH/BAUwAwEB/zAfBgNV\n" \
    "HREEGDAWgg5lZC5leGFtcGxlLmNvbYcECgAAATAFBgMrZXADQQDNuJdfwJ6k3tOP\n" \
    "/QobidwAy2y9W1uZCe3+WoEV3zjIV67ZNxMJCCVIIN8iSaprx55EWKwpKX3D63ii\n" \
    "H6HHerML\n" \
    "-----END CERTIFICATE-----\n"

// Ed25519
#define PEM_ED_KEY \
    "-----BEGIN PRIVATE KEY-----\n" \
    "MC4CAQAwBQYDK2VwBCIEIK1RqjT7iCYXcscP0MEJKiVzSsn2PMB+yt7glLX2JRX7\n" \
    "-----END PRIVATE KEY-----\n"

// an authority
#define PEM_CA \
    "-----BEGIN CERTIFICATE-----\n" \
    "MIIBmjCCAT+gAwIBAgIUO3eCtU5YPuPWleLNPha+7/sYkIEwCgYIKoZIzj0EAwIw\n" \
    "GTEXMBUGA1UEAwwOVGVzdCBBdXRob3JpdHkwIBcNMjYxMTI1MjA1ODI3WhgPMjEy\n" \
    "NjExMDEyMDU4MjdaMBkxFzAVBgNVBAMMDlRlc3QgQXV0aG9yaXR5MFkwEwYHKoZI\n" \
    "zj0CAQYIKoZIzj0DAQcDQgAE+KqUQ24noYJ5dMMTWrStq088lQ+9V+LXL/HdHFMF\n" \
    "GpG0pH02ES+PHQu/j10tP4EAyTnbgpemUrnzmwJFKZ6w5qNjMGEwHQYDVR0OBBYE\n" \
    "FBJ4jKTYj0BGRxanqNmm7lZ/IvSHMB8GA1UdIwQYMBaAFBJ4jKTYj0BGRxanqNmm\n" \
    "7lZ/IvSHMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgIEMAoGCCqGSM49\n" \
    "BAMCA0kAMEYCIQCFI2HILJEGY+/z6JkBDj5azOGN09Ol34iIivWn5lFciwIhANS1\n" \
    "pNvtZ8OlmTRGh/4Z4IkZ938pWHyhnbdbAKnfzdJm\n" \
    "-----END CERTIFICATE-----\n"
