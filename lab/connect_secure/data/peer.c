// SPDX-License-Identifier: GPL-3.0-or-later
/* Loaded into ocserv before GnuTLS (LD_PRELOAD), for the two things that ocserv 1.3.0 lacks and the appliance has:
 * client certificates are verified for the purpose clientAuth too, and each that is presented is written to the log.
 * Declared by hand, from GnuTLS' documented interface, so that no development package is needed. */
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

typedef struct { unsigned char *data; unsigned size; } datum;
typedef struct { int type; unsigned char *data; unsigned size; } typed_datum;
enum { KEY_PURPOSE_OID = 2 };

extern const datum *gnutls_certificate_get_peers(void *session, unsigned *number);
extern int gnutls_certificate_verify_peers(void *session, typed_datum *data, unsigned elements, unsigned *status);

static void tell(const datum *certificate)
{
    static const char digits[] = "0123456789abcdef";
    static char line[32768];
    int length = snprintf(line, sizeof line, "peer: %d ", (int)getpid());
    if (certificate->size > (sizeof line - length - 2) / 2)
        return;
    for (unsigned i = 0; i < certificate->size; i++) {
        line[length++] = digits[certificate->data[i] >> 4];
        line[length++] = digits[certificate->data[i] & 15];
    }
    line[length++] = '\n';
    if (write(2, line, length) < 0)
        return;
}

int gnutls_certificate_verify_peers2(void *session, unsigned *status)
{
    unsigned number = 0;
    const datum *chain = gnutls_certificate_get_peers(session, &number);
    typed_datum purpose = {KEY_PURPOSE_OID, (unsigned char *)"1.3.6.1.5.5.7.3.2", 0};
    if (chain != NULL && number > 0)
        tell(chain);
    return gnutls_certificate_verify_peers(session, &purpose, 1, status);
}
