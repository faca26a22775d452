// Patterns that several fields share; the CRDs hold the same text.
#pragma once

#define PATTERN_DNS_SUBDOMAIN \
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
#define PATTERN_DNS_LABEL "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
#define PATTERN_HOSTNAME \
    "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
#define PATTERN_QUALIFIED_NAME \
    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?" \
    "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
#define PATTERN_LABEL_VALUE "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
#define PATTERN_DATA_KEY "^[-._a-zA-Z0-9]+$" // of a ConfigMap or Secret
#define PATTERN_TEXT "^[!-~]([ -~]*[!-~])?$" // printable, no space at the ends
#define PATTERN_HEADER_NAME "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"
#define PATTERN_DURATION "^([0-9]{1,5}(h|m|s|ms)){1,4}$"
