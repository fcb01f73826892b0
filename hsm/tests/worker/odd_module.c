/* A PKCS#11 module for tests: SoftHSM, but with the faults that flag files beside SOFTHSM2_CONF ask for. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long U;
typedef U (*Call)();
struct Attribute { U type; void *value; U length; };
struct List { unsigned char major, minor; Call calls[68]; };

/* Places in CK_FUNCTION_LIST, PKCS#11 2.40. */
enum { INITIALIZE = 0, TOKEN_INFO = 6, LOGIN = 18, GET_ATTRIBUTE_VALUE = 24, SIGN_INIT = 42, SIGN = 43, VERIFY_INIT = 48 };

static struct List real, ours;

static char *flag(const char *name) {
    static __thread char path[4096];
    snprintf(path, sizeof path, "%s", getenv("SOFTHSM2_CONF"));
    snprintf(strrchr(path, '/') + 1, 256, "%s", name);
    return path;
}

static int asked(const char *name) { return access(flag(name), F_OK) == 0; }

static U initialize(void *arguments) {
    while (asked("hang-at-start")) sleep(1);
    return real.calls[INITIALIZE](arguments);
}

static U token_info(U slot, unsigned char *info) {
    U result = real.calls[TOKEN_INFO](slot, info);
    if (result == 0 && asked("last-try")) *(U *)(info + 96) |= 0x20000; /* CKF_USER_PIN_FINAL_TRY */
    return result;
}

static U login(U session, U user, void *pin, U length) {
    int log = open(flag("logins"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (write(log, "x", 1) != 1) abort();
    close(log);
    return real.calls[LOGIN](session, user, pin, length);
}

static U get_attribute_value(U session, U object, struct Attribute *attributes, U count) {
    U result = real.calls[GET_ATTRIBUTE_VALUE](session, object, attributes, count);
    for (U i = 0; asked("extractable") && i < count; i++)
        if (attributes[i].type == 0x162 && attributes[i].value) *(char *)attributes[i].value = 1; /* CKA_EXTRACTABLE */
    return result;
}

static U without_hashing(int call, U session, U *mechanism, U key) {
    /* CKM_SHA256_RSA_PKCS, CKM_SHA256_RSA_PKCS_PSS, CKM_SHA384_RSA_PKCS_PSS */
    if (asked("no-hashing") && (*mechanism == 0x40 || *mechanism == 0x43 || *mechanism == 0x44)) return 0x70;
    return real.calls[call](session, mechanism, key);
}
static U sign_init(U session, U *mechanism, U key) { return without_hashing(SIGN_INIT, session, mechanism, key); }
static U verify_init(U session, U *mechanism, U key) { return without_hashing(VERIFY_INIT, session, mechanism, key); }

static U sign(U session, void *data, U length, void *signature, U *signature_length) {
    if (asked("crash")) abort();
    if (unlink(flag("hang-once")) == 0) sleep(2);
    while (asked("hang")) sleep(1);
    return real.calls[SIGN](session, data, length, signature, signature_length);
}

U C_GetFunctionList(struct List **list) {
    void *module = dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW);
    U (*get)(struct List **) = dlsym(module, "C_GetFunctionList");
    struct List *theirs;
    U result = get(&theirs);
    if (result != 0) return result;
    ours = real = *theirs;
    ours.calls[INITIALIZE] = initialize;
    ours.calls[TOKEN_INFO] = token_info;
    ours.calls[LOGIN] = login;
    ours.calls[GET_ATTRIBUTE_VALUE] = get_attribute_value;
    ours.calls[SIGN_INIT] = sign_init;
    ours.calls[VERIFY_INIT] = verify_init;
    ours.calls[SIGN] = sign;
    *list = &ours;
    return 0;
}
