/* No screen has a colour profile. For checks under Wine only. */
#define SHOWN __declspec(dllexport)

SHOWN int GetColorProfileFromHandle(void) { return 0; }
SHOWN int CloseColorProfile(void) { return 1; }
SHOWN void *WcsCreateIccProfile(void) { return 0; }
SHOWN void *OpenColorProfileW(void) { return 0; }
