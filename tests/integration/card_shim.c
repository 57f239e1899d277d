/* SPDX-License-Identifier: GPL-3.0-or-later
 * A PKCS#11 library around another one (SoftHSM), which adds what real cards have and SoftHSM has not: a PIN that locks after three wrong
 * tries, and an end of the memory. The state is a file, CARD_SHIM_STATE: "<tries left> <objects that still fit>"; CARD_SHIM_LIBRARY is the
 * other library. Function numbers and offsets are those of PKCS#11 2.40 (pkcs11f.h, CK_TOKEN_INFO).
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long ulong_t;
typedef ulong_t (*function)();
struct list {
    unsigned char version[2];
    function functions[68];
};
enum { GET_FUNCTION_LIST = 3, GET_TOKEN_INFO = 6, LOGIN = 18, CREATE_OBJECT = 20, DESTROY_OBJECT = 22, GENERATE_KEY_PAIR = 59 };
enum { OK = 0, DEVICE_MEMORY = 0x31, PIN_INCORRECT = 0xA0, PIN_LOCKED = 0xA4 };
enum { FLAGS_OFFSET = 96, COUNT_LOW = 0x10000, FINAL_TRY = 0x20000, LOCKED = 0x40000, ALL_TRIES = 3 };

static struct list *theirs, ours;

static void load(int *tries, int *room)
{
    FILE *file = fopen(getenv("CARD_SHIM_STATE"), "r");
    if (!file || fscanf(file, "%d %d", tries, room) != 2)
        abort();
    fclose(file);
}

static void save(int tries, int room)
{
    FILE *file = fopen(getenv("CARD_SHIM_STATE"), "w");
    if (!file)
        abort();
    fprintf(file, "%d %d\n", tries, room);
    fclose(file);
}

static ulong_t get_token_info(ulong_t slot, unsigned char *info)
{
    int tries, room;
    ulong_t flags, result = theirs->functions[GET_TOKEN_INFO](slot, info);
    load(&tries, &room);
    memcpy(&flags, info + FLAGS_OFFSET, sizeof flags);
    flags &= ~(ulong_t)(COUNT_LOW | FINAL_TRY | LOCKED);
    flags |= (tries < ALL_TRIES ? COUNT_LOW : 0) | (tries == 1 ? FINAL_TRY : 0) | (tries < 1 ? LOCKED : 0);
    memcpy(info + FLAGS_OFFSET, &flags, sizeof flags);
    return result;
}

static ulong_t login(ulong_t session, ulong_t user, unsigned char *pin, ulong_t length)
{
    int tries, room;
    ulong_t result;
    load(&tries, &room);
    if (tries < 1)
        return PIN_LOCKED;
    result = theirs->functions[LOGIN](session, user, pin, length);
    save(result == OK ? ALL_TRIES : result == PIN_INCORRECT ? tries - 1 : tries, room);
    return result;
}

static int take(int objects)
{
    int tries, room;
    load(&tries, &room);
    if (room < objects)
        return 0;
    save(tries, room - objects);
    return 1;
}

static ulong_t create_object(ulong_t session, void *attributes, ulong_t count, ulong_t *object)
{
    return take(1) ? theirs->functions[CREATE_OBJECT](session, attributes, count, object) : DEVICE_MEMORY;
}

static ulong_t destroy_object(ulong_t session, ulong_t object)
{
    take(-1);
    return theirs->functions[DESTROY_OBJECT](session, object);
}

static ulong_t generate_key_pair(ulong_t a, void *b, void *c, ulong_t d, void *e, ulong_t f, ulong_t *g, ulong_t *h)
{
    return take(2) ? theirs->functions[GENERATE_KEY_PAIR](a, b, c, d, e, f, g, h) : DEVICE_MEMORY;
}

ulong_t C_GetFunctionList(struct list **list)
{
    void *library = dlopen(getenv("CARD_SHIM_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
    function get = library ? (function)dlsym(library, "C_GetFunctionList") : NULL;
    if (!get || get(&theirs) != OK)
        return 5; /* CKR_GENERAL_ERROR */
    memcpy(&ours, theirs, sizeof ours);
    ours.functions[GET_FUNCTION_LIST] = (function)C_GetFunctionList;
    ours.functions[GET_TOKEN_INFO] = (function)get_token_info;
    ours.functions[LOGIN] = (function)login;
    ours.functions[CREATE_OBJECT] = (function)create_object;
    ours.functions[DESTROY_OBJECT] = (function)destroy_object;
    ours.functions[GENERATE_KEY_PAIR] = (function)generate_key_pair;
    *list = &ours;
    return OK;
}
