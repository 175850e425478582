/* What Qt asks of Windows' ICU: there is no converter, error 4 (missing resource), so it uses its own. For checks under Wine only. */
#define SHOWN __declspec(dllexport)
#define NOTHING(name) SHOWN long long name(void) { return 0; }

SHOWN void *ucnv_open(const char *name, int *error)
{
    (void)name;
    if (error)
        *error = 4;
    return 0;
}

SHOWN const char *ucnv_getStandardName(const char *alias, const char *standard, int *error)
{
    (void)alias, (void)standard;
    if (error)
        *error = 4;
    return 0;
}

SHOWN const char *ucnv_getName(void *converter, int *error)
{
    (void)converter;
    if (error)
        *error = 4;
    return "";
}

NOTHING(ucnv_getAvailableName)
NOTHING(ucnv_countAvailable)
NOTHING(ucnv_close)
NOTHING(UCNV_FROM_U_CALLBACK_SUBSTITUTE)
NOTHING(UCNV_TO_U_CALLBACK_SUBSTITUTE)
NOTHING(ucnv_reset)
NOTHING(ucnv_getMaxCharSize)
NOTHING(ucnv_getToUCallBack)
NOTHING(ucnv_getFromUCallBack)
NOTHING(ucnv_setToUCallBack)
NOTHING(ucnv_setFromUCallBack)
NOTHING(ucnv_cbToUWriteUChars)
NOTHING(ucnv_toUnicode)
NOTHING(ucnv_cbFromUWriteUChars)
NOTHING(ucnv_toUCountPending)
NOTHING(ucnv_fromUCountPending)
NOTHING(ucnv_fromUnicode)
