/** Who is calling, and what may they do. */
export { createAccessKeyWay } from './accounts/access-key.ts';
export {
  type FoundKey,
  type KeyChange,
  type KeyListener,
  MAIN_ACCOUNT_ID,
} from './accounts/account-book.ts';
export {
  type AccessKey,
  type AccessKeySummary,
  type Account,
  Accounts,
  type AccountsOptions,
  type AdminKey,
  openAccounts,
  TEMPORARY_SECONDS_MAX,
} from './accounts/accounts.ts';
export {
  type AuthenticationWay,
  type Authenticator,
  type Caller,
  type ConnectAttempt,
  type ConnectRequest,
  type Exchange,
  type ExchangeStep,
  isRefusal,
  type LiveClient,
  type Permissions,
  type Refusal,
  type Verdict,
} from './authenticator.ts';
export {
  type CertificateGuard,
  type ChainParts,
  createAuthenticator,
  type Doorman,
  type ExchangeMethod,
} from './chain.ts';
export { createOpenWay } from './open-authenticator.ts';
export {
  filterCovers,
  filtersOverlap,
  isTopicFilter,
  topicMatches,
  type TopicRule,
  TopicRules,
} from './topic-rules.ts';
export type { Principal, Rights } from './accounts/rights.ts';
export { createSecretBox, loadSecretKey, type SecretBox } from './secret-box.ts';
export { createSignatureWay } from './accounts/signature.ts';
export { TEMPORARY_PREFIX, type TemporaryKey } from './accounts/temporary-key.ts';
export { type ParsedUserName, parseUserName, type UserNameMode } from './user-name.ts';
export { createDeviceCredentialWay } from './devices/device-credential-authenticator.ts';
export {
  DEVICE_CREDENTIAL_TABLES,
  type DeviceCredential,
  type DeviceCredentials,
  type DevicePage,
  type DevicePageRequest,
  openDeviceCredentials,
} from './devices/device-credentials.ts';
export { createTokenWay } from './tokens/token-authenticator.ts';
export { TokenNotices } from './tokens/token-notices.ts';
export { TOKEN_TABLES } from './tokens/token-revocations.ts';
export {
  openTokens,
  type Token,
  TOKEN_CHARS_MAX,
  type TokenApplication,
  type TokenFlaw,
  type Tokens,
  type TokenType,
} from './tokens/tokens.ts';
export {
  type AddressGate,
  type AddressList,
  type AddressSettings,
  compileAddressList,
  createAddressGate,
  parseAddressSettings,
} from './address-list.ts';
export {
  BAN_SETTINGS,
  type Ban,
  type BanReason,
  type BanSettings,
  type Bans,
  type BanTarget,
  createBans,
} from './bans.ts';
export { type CustomAuth, openCustomAuth } from './custom/custom-auth.ts';
export { createCustomAuthWay } from './custom/custom-authenticator.ts';
export { type FieldFlaw, identityFlaw, permissionFlaw } from './custom/custom-flaws.ts';
export {
  CUSTOM_AUTH_TABLES,
  type CustomIdentity,
  type CustomPermission,
  type IdentityKey,
  type PermissionKey,
} from './custom/custom-records.ts';
export type { RecordPage } from './custom/record-page.ts';
export type {
  AuthorityRegistration,
  AuthorityVerdict,
} from './certificates/authority-registration.ts';
export {
  type CertificateIdentity,
  type CertificateSettings,
  parseCertificateSettings,
} from './certificates/certificate-check.ts';
export {
  type AuthorityRecord,
  CERTIFICATE_TABLES,
  type CertificatePage,
  type Certificates,
  createCertificateWay,
  type DeviceRecord,
  openCertificates,
} from './certificates/certificates.ts';
export type { DeviceKey } from './certificates/certificate-store.ts';
export type {
  ServerCertificateRecord,
  ServerCertificates,
  ServerNames,
} from './certificates/server-certificates.ts';
export { isSealed, type SealedText, sealText } from './auth-settings.ts';
export { createHttpWay, type HttpWay, type HttpWayOptions } from './http/http-auth.ts';
export { type HttpSettings, readHttpSettings } from './http/http-settings.ts';
export { createJwtWay, type JwtWay, type JwtWayOptions } from './jwt/jwt.ts';
export { secretBytes } from './jwt/jwt-keys.ts';
export { type JwtSettings, readJwtSettings } from './jwt/jwt-settings.ts';
export { parseRules } from './permission-rules.ts';
export { createScramMethod } from './scram/scram.ts';
export {
  openScramUsers,
  SCRAM_ITERATIONS,
  SCRAM_ITERATIONS_MAX,
  SCRAM_ITERATIONS_MIN,
  SCRAM_RULE_COUNT_MAX,
  SCRAM_USER_TABLE,
  type ScramUser,
  type ScramUserChange,
  type ScramUsers,
  type ScramUsersOptions,
} from './scram/scram-users.ts';
