-- a copy of a database sends no dunning mail
UPDATE dunning_provider
   SET active = false,
       state = 'paused',
       pause_reason = 'neutralized copy of a database';
UPDATE ir_mail_server
   SET active = false, smtp_pass = NULL
 WHERE id IN (SELECT mail_server_id FROM dunning_provider);
